"""From recordings on disk to padded numpy batches. Imports no model and no JAX."""
