"""What several test modules share: a virtual clock, fake tools and models."""
