"""What the graphs are: immutable operands, operations and models, TorchScript graphs, findings."""
