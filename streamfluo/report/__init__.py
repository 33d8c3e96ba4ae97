"""Floor 4: a session as one page to hand in. Imports core, pixels, session; a science is reached by registration.

page      the whole page          html      elements, escaped      style.css   how it looks, on screen and on paper
summary   what ran and how        course    losses and what happened over time
overlays  outlines and places over images
steps     a section a step        declared  what a step gives, drawn as it is declared    recorded  steps to read from
"""
