"""The parts of ``simple_transformer``: what it reads, how it computes, how it learns."""
