"""The Chinese texts about what people changed, by their English ones."""

CHANGES = {
    # commands
    "Changes: who changed what, before and after; undo.": "变更：谁改了什么，改前与改后；撤销。",
    "List what people changed, newest first.": "列出人工变更，最新的在前。",
    "Take a change back, if nobody has changed the same since.": "撤销一项变更，前提是此后无人再改过。",
    # options
    "The change's id": "变更的 id",
    "Only changes of this kind of thing": "只看这类对象的变更",
    "Only what has this id, and the overrides of that quota": "只看此 id 的对象，以及该配额的单独设置",
    # headings
    "actor": "操作者",
    "act": "操作",
    "kind": "类别",
    "undoes": "撤销了",
}
