"""Records one camera on its node, without end: segments under the videos folder, and a record of what is missing.

Runs with the node's own Python, standard library only, and drives ffmpeg. Never imported by the control side.
"""
