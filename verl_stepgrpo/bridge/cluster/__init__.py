"""What stands on other nodes, and what is alive: the versions of every node, the actors that a job needs, their deaths.

May import no other room. ``checks/`` looks at the nodes before a run, ``hooks/`` at the actors during it.
"""
