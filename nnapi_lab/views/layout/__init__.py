"""Where nodes stand: layered, top-down, in strips; by Graphviz where there is one, by ourselves where there is not."""
