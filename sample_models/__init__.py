"""Real architectures with seeded weights, one file each; entry points return (module, example_inputs)."""
