"""What every stage shares: video reading, feature store, scores, training loop, distributed start-up, checkpoints."""
