"""Association as a process: one ordered agent over the visits' log.

``agent.py`` is the Faust side, ``service.py`` what is done for each fact of a visit, ``state.py`` the local store,
``decisions.py`` the log of decisions, ``results.py`` the accepted results of a closed visit.
"""
