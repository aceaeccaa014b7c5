"""Alert assembly as a process: updates of objects become packets without stamps; see ``agent.py``."""
