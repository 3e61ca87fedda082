"""The four models and what they are made of. Each model has one config dataclass and knows nothing of the others."""
