"""What the machine gives and takes: threads, memory, cgroups, the allocator, signals."""
