"""Maps that a flow makes: over one period of its field, and from a section back to it."""
