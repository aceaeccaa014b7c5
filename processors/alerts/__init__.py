"""Alert Generation: packets, stamps, the semantic gate and the limit of size."""
