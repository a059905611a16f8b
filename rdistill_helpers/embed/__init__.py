"""Stage 2, embed: photographs become descriptors, by a network of one's own or by a teacher that costs."""
