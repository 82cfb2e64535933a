"""The lab: edge machines emulated on this one by systemd containers, for trying everything before real machines.

`up`, `down`, `status` are the verbs; `state.load_facts` tells other rooms what a running lab's machines need to know.
"""
