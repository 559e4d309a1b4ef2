"""The Chinese texts about operators, by their English ones."""

OPERATORS = {
    # commands
    "Operators: people with a token and a role of their own.": "操作员：各有自己的令牌和角色。",
    "List operators, newest first, revoked ones too.": "列出操作员，最新的在前，含已撤销的。",
    "Make an operator; its token is shown only now.": "创建操作员；其令牌仅显示这一次。",
    "Refuse an operator's token, and sign its browsers out.": "撤销操作员：拒绝其令牌，并登出其浏览器。",
    # arguments and options
    "What the record of changes calls it": "在变更记录中的名称",
    "viewer looks at everything and changes nothing; admin does everything": (
        "viewer 可查看一切但不能更改；admin 可做一切"
    ),
    "Its id": "其 id",
    # answers
    "revoked: {name}": "已撤销：{name}",
    # headings
    "role": "角色",
    "created (UTC)": "创建于 (UTC)",
    "revoked (UTC)": "撤销于 (UTC)",
}
