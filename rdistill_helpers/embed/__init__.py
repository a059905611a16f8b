"""Stage 2, embed: photographs become descriptors, by your own network or by a teacher that costs."""
