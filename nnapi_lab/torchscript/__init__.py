"""The only importer of torch for graphs: capture, execute, lower."""
