"""Stage 3, distil: a student learns to rank as the teacher does, from the teacher's descriptors alone."""
