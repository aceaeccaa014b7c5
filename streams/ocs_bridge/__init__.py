"""The OCS bridge: the observatory's SAL messages become facts about visits, or dead letters with the reason."""
