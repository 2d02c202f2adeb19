"""What the project is built with: the drawn world, the training of the bundled models, benchmarks."""
