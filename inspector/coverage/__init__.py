"""Which of the library's decoder types are captured, reimplemented and verified: tried out, one tiny model each."""
