"""`python -m e2etts_jax.prepare`: from recordings with texts to ArrayRecord shards that TFDS opens.

plan.py decides, without opening any recording, which clip goes into which shard; shard.py writes one shard, a function
of the plan alone; workers.py spreads the shards over processes; finish.py joins what they noted. A run that was killed
goes on from its last whole shard, and the bytes do not tell.
"""
