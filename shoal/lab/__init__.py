"""The lab: edge machines emulated on this one by systemd containers, for trying everything before real machines.

`up`, `down`, `status` are the verbs; other rooms read what a running lab's machines need from `state.load_facts`.
"""
