"""What every stage shares: video reading, feature store, scores, training loop, distributed start-up, checkpoints."""

import os

# Before torch is imported: its threads wait for one another in a loop that holds the core. Where another process wants
# that core too, each waits for the other; a training step on two shared cores took up to forty times as long. After
# this many turns they sleep instead, which costs a few per cent of an idle machine's speed.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
