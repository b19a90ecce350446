"""The network, alone and stacked, and how it is scored."""
