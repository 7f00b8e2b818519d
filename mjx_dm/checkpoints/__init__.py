"""What a run saves: verified checkpoints, and policies to be scored or taken away."""
