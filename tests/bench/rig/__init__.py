"""The rig of the side-by-side benchmarks: a scripted upstream, one adapter per system, and the measuring."""
