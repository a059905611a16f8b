"""Stage 4, score: exact ranks by counting, the measures of the revisited protocol, neighbours."""
