"""Facts → parts → text, HTML or SVG. No Jupyter, no torch: what is shown is data until a renderer reads it."""
