"""Association: the sources of a visit become objects with a history.

Read ``decide.py`` for the rule of a visit, ``fold.py`` for how the state changes, ``summary.py`` for what is said of an
object, ``known_objects.py`` for what the next visits are told.
"""
