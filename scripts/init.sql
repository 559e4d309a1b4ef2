CREATE TABLE access_tokens (
	id VARCHAR(128) NOT NULL, 
	token_hash VARCHAR(64) NOT NULL, 
	prefix VARCHAR(16) NOT NULL, 
	ws_id VARCHAR(128) NOT NULL, 
	email VARCHAR(320) NOT NULL, 
	quota_type VARCHAR(16) NOT NULL, 
	expires_at DATETIME, 
	rate_limit_per_minute INTEGER, 
	rate_limit_burst INTEGER, 
	active BOOLEAN NOT NULL, 
	version INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	deleted_at DATETIME, 
	total_quota DOUBLE, 
	remaining_quota DOUBLE, 
	epoch BIGINT DEFAULT '0' NOT NULL, 
	seq BIGINT DEFAULT '0' NOT NULL, 
	quota_synced_at DATETIME, 
	CONSTRAINT pk_access_tokens PRIMARY KEY (id), 
	CONSTRAINT uq_access_tokens_token_hash UNIQUE (token_hash)
);

CREATE INDEX ix_access_tokens_email ON access_tokens (email);

CREATE INDEX ix_access_tokens_ws_id ON access_tokens (ws_id);

CREATE TABLE admin_audit (
	id VARCHAR(64) NOT NULL, 
	at DATETIME NOT NULL, 
	actor VARCHAR(128) NOT NULL, 
	act VARCHAR(16) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	subject_id VARCHAR(257) NOT NULL, 
	"before" TEXT, 
	"after" TEXT, 
	undoes VARCHAR(64), 
	kept TEXT, 
	CONSTRAINT pk_admin_audit PRIMARY KEY (id), 
	CONSTRAINT uq_admin_audit_undoes UNIQUE (undoes)
);

CREATE INDEX ix_admin_audit_kind_subject_id_id ON admin_audit (kind, subject_id, id);

CREATE TABLE dead_letters (
	event_id VARCHAR(128) NOT NULL, 
	payload TEXT NOT NULL, 
	error TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_dead_letters PRIMARY KEY (event_id)
);

CREATE TABLE meta (
	"key" VARCHAR(64) NOT NULL, 
	value TEXT NOT NULL, 
	CONSTRAINT pk_meta PRIMARY KEY ("key")
);

CREATE TABLE minute_totals (
	minute DATETIME NOT NULL, 
	allowed BIGINT NOT NULL, 
	r429 BIGINT NOT NULL, 
	ok BIGINT NOT NULL, 
	err BIGINT NOT NULL, 
	CONSTRAINT pk_minute_totals PRIMARY KEY (minute)
);

CREATE TABLE operators (
	id VARCHAR(128) NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	role VARCHAR(16) NOT NULL, 
	token_hash VARCHAR(64) NOT NULL, 
	prefix VARCHAR(32) NOT NULL, 
	created_at DATETIME NOT NULL, 
	revoked_at DATETIME, 
	CONSTRAINT pk_operators PRIMARY KEY (id), 
	CONSTRAINT uq_operators_token_hash UNIQUE (token_hash)
);

CREATE TABLE quota_metrics (
	quota_id VARCHAR(128) NOT NULL, 
	minute DATETIME NOT NULL, 
	allowed BIGINT NOT NULL, 
	r429 BIGINT NOT NULL, 
	ok BIGINT NOT NULL, 
	err BIGINT NOT NULL, 
	latency TEXT NOT NULL, 
	remaining DOUBLE, 
	CONSTRAINT pk_quota_metrics PRIMARY KEY (quota_id, minute)
);

CREATE TABLE quota_overrides (
	quota_id VARCHAR(128) NOT NULL, 
	"key" VARCHAR(128) NOT NULL, 
	capacity DOUBLE NOT NULL, 
	refill_rate DOUBLE NOT NULL, 
	CONSTRAINT pk_quota_overrides PRIMARY KEY (quota_id, "key")
);

CREATE TABLE quota_snapshots (
	quota_id VARCHAR(128) NOT NULL, 
	remaining DOUBLE NOT NULL, 
	allowed BIGINT NOT NULL, 
	limited BIGINT NOT NULL, 
	clock_jumps BIGINT NOT NULL, 
	version INTEGER NOT NULL, 
	synced_at DATETIME NOT NULL, 
	CONSTRAINT pk_quota_snapshots PRIMARY KEY (quota_id)
);

CREATE TABLE quotas (
	id VARCHAR(128) NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	capacity DOUBLE NOT NULL, 
	refill_rate DOUBLE NOT NULL, 
	enabled BOOLEAN NOT NULL, 
	version INTEGER NOT NULL, 
	applied_text TEXT, 
	created_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	kind VARCHAR(16) DEFAULT 'bucket' NOT NULL, 
	reset_cron TEXT, 
	timezone VARCHAR(64), 
	total_quota DOUBLE, 
	remaining_quota DOUBLE, 
	epoch BIGINT DEFAULT '0' NOT NULL, 
	seq BIGINT DEFAULT '0' NOT NULL, 
	quota_synced_at DATETIME, 
	max_concurrent INTEGER, 
	mirrors VARCHAR(128), 
	CONSTRAINT pk_quotas PRIMARY KEY (id), 
	CONSTRAINT uq_quotas_name UNIQUE (name)
);

CREATE TABLE sessions (
	secret_hash VARCHAR(64) NOT NULL, 
	token_hash VARCHAR(64) NOT NULL, 
	created_at DATETIME NOT NULL, 
	expires_at DATETIME NOT NULL, 
	CONSTRAINT pk_sessions PRIMARY KEY (secret_hash)
);

CREATE TABLE tasks (
	id VARCHAR(128) NOT NULL, 
	name TEXT NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	func TEXT NOT NULL, 
	cron TEXT, 
	timezone VARCHAR(64), 
	quota_name VARCHAR(128), 
	description TEXT, 
	enabled BOOLEAN NOT NULL, 
	paused BOOLEAN NOT NULL, 
	cron_override TEXT, 
	registered_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	rate_limit VARCHAR(32), 
	rate_override VARCHAR(32), 
	skip_at DATETIME, 
	CONSTRAINT pk_tasks PRIMARY KEY (id)
);

CREATE TABLE token_quota_logs (
	event_id VARCHAR(96) NOT NULL, 
	subject VARCHAR(128) NOT NULL, 
	action VARCHAR(16) NOT NULL, 
	quota_before DOUBLE NOT NULL, 
	quota_change DOUBLE NOT NULL, 
	quota_after DOUBLE NOT NULL, 
	epoch BIGINT NOT NULL, 
	seq BIGINT NOT NULL, 
	request_id VARCHAR(128), 
	actor TEXT, 
	created_at DATETIME NOT NULL, 
	checksum VARCHAR(16) NOT NULL, 
	execution_success BOOLEAN, 
	execution_error_type TEXT, 
	execution_error_message TEXT, 
	CONSTRAINT pk_token_quota_logs PRIMARY KEY (event_id)
);

CREATE INDEX ix_token_quota_logs_request_id ON token_quota_logs (request_id);

CREATE INDEX ix_token_quota_logs_subject_epoch_seq ON token_quota_logs (subject, epoch, seq);

CREATE TABLE traces (
	run_id VARCHAR(64) NOT NULL, 
	task_id VARCHAR(128) NOT NULL, 
	"trigger" VARCHAR(16) NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	claimed_at DATETIME NOT NULL, 
	quota_id VARCHAR(128), 
	scheduled_for DATETIME, 
	started_at DATETIME, 
	finished_at DATETIME, 
	reason VARCHAR(16), 
	attempt INTEGER NOT NULL, 
	latency_ms DOUBLE, 
	wait_ms DOUBLE, 
	cost DOUBLE NOT NULL, 
	error_type TEXT, 
	error TEXT, 
	instance_id VARCHAR(128), 
	due_at DATETIME, 
	tries TEXT, 
	"plan" TEXT, 
	CONSTRAINT pk_traces PRIMARY KEY (run_id), 
	CONSTRAINT uq_traces_task_id_scheduled_for UNIQUE (task_id, scheduled_for)
);

CREATE INDEX ix_traces_claimed_at ON traces (claimed_at);

CREATE INDEX ix_traces_quota_id_claimed_at ON traces (quota_id, claimed_at);

CREATE INDEX ix_traces_status_claimed_at ON traces (status, claimed_at);

CREATE INDEX ix_traces_task_id_claimed_at ON traces (task_id, claimed_at);

CREATE TABLE upstream_keys (
	id VARCHAR(128) NOT NULL, 
	provider VARCHAR(128) NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	secret TEXT NOT NULL, 
	fingerprint VARCHAR(64) NOT NULL, 
	prefix VARCHAR(64) NOT NULL, 
	enabled BOOLEAN NOT NULL, 
	created_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	plan_limit DOUBLE, 
	used DOUBLE, 
	remaining DOUBLE, 
	status VARCHAR(16) DEFAULT 'active' NOT NULL, 
	cooldown_until DATETIME, 
	last_checked_at DATETIME, 
	last_error TEXT, 
	failures INTEGER DEFAULT '0' NOT NULL, 
	CONSTRAINT pk_upstream_keys PRIMARY KEY (id), 
	CONSTRAINT uq_upstream_keys_provider_name UNIQUE (provider, name), 
	CONSTRAINT uq_upstream_keys_fingerprint UNIQUE (fingerprint)
);

CREATE INDEX ix_upstream_keys_created_at ON upstream_keys (created_at);

CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

INSERT INTO alembic_version (version_num) VALUES ('0008');
