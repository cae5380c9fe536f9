"""Real architectures with seeded weights, one file each, as entry points that return (module, example_inputs)."""
