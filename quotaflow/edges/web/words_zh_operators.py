"""The Chinese texts of the page about operators, by their English ones."""

OPERATORS = {
    "Operators": "操作员",
    "Who looks after this installation, with a token of their own each: it signs in here, and the API takes it too."
    " What they change is recorded under their name.": (
        "管理此安装的人，每人有自己的令牌：可在此登录，API 也接受。他们所做的变更以各自的名字记录。"
    ),
    "The token of {name}": "{name} 的令牌",
    "Copy": "复制",
    "Copied": "已复制",
    "It is shown this once and kept nowhere: copy it now. Whoever has it may sign in.": (
        "只显示这一次，任何地方都不保存：请立即复制。持有它的人都可以登录。"
    ),
    "New operator": "新建操作员",
    "Name": "名称",
    "Stands beside what they change.": "显示在其所做变更的旁边。",
    "Role": "角色",
    "viewer: may only look": "只读：只能查看",
    "admin: may do everything": "管理员：可做任何操作",
    "admin": "管理员",
    "Create operator": "创建操作员",
    "You may look. Admins make operators and revoke their tokens; ask one of them.": (
        "你只能查看。新建操作员和吊销令牌由管理员进行，请联系管理员。"
    ),
    "You signed in with the admin token, which is not in this list.": "你用管理员令牌登录，它不在此列表中。",
    "Token begins with": "令牌开头",
    "Since": "开始于",
    "you": "你",
    "revoked": "已吊销",
    "Revoke": "吊销",
    "Revoke it": "确认吊销",
    "You sign yourself out, and your token is refused for ever.": "你将退出登录，你的令牌永久失效。",
    "The token of {name} is refused for ever, and its browsers are signed out.": (
        "{name} 的令牌将永久失效，其浏览器会被退出登录。"
    ),
    "The token is refused from now on, and its browsers are signed out.": "令牌已失效，其浏览器已退出登录。",
    "Nobody has a token of their own yet: everybody signs in with the admin token, and what they change is recorded"
    " as done by admin.": "还没有人有自己的令牌：大家都用管理员令牌登录，变更都记录为 admin 所做。",
}
