"""Real runs of the program that are killed, starved of disk, or misled, and whether anything is lost."""
