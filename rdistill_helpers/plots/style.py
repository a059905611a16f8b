"""Colours, lines and markers of all figures."""

# Okabe and Ito's palette, told apart with every common kind of colour blindness ("Color Universal Design", 2008).
PALETTE = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "red": "#D55E00",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "yellow": "#F0E442",
    "black": "#000000",
}
GREY = "#8C8C8C"
# Of the series of a chart; yellow is too light for a line on white, and for one on black once a page turns its charts.
COLOURS = tuple(colour for name, colour in PALETTE.items() if name != "yellow")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
