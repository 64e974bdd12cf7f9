BEGIN TRANSACTION;
CREATE TABLE attempt (
	gate_digest VARCHAR(71) NOT NULL, 
	k INTEGER NOT NULL, 
	configuration_id VARCHAR(16) NOT NULL, 
	at TEXT NOT NULL, 
	CONSTRAINT pk_attempt PRIMARY KEY (gate_digest, k), 
	CONSTRAINT ck_attempt_k_positive CHECK (k >= 1), 
	CONSTRAINT fk_attempt_configuration_id_configuration FOREIGN KEY(configuration_id) REFERENCES configuration (configuration_id), 
	CONSTRAINT uq_attempt_gate_digest_configuration_id UNIQUE (gate_digest, configuration_id)
);
INSERT INTO "attempt" VALUES('sha256:1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f',1,'cfg_f7157b6ea9d8','2026-11-26T08:00:05.001250Z');
INSERT INTO "attempt" VALUES('sha256:1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f',2,'cfg_17fb30502ce0','2026-11-26T08:00:06.001500Z');
CREATE TABLE configuration (
	configuration_id VARCHAR(16) NOT NULL, 
	digest VARCHAR(71) NOT NULL, 
	model_type VARCHAR(64) NOT NULL, 
	training JSON NOT NULL, 
	decision JSON NOT NULL, 
	classifier_threshold FLOAT NOT NULL, 
	gray_zone_lower FLOAT NOT NULL, 
	gray_zone_upper FLOAT NOT NULL, 
	created_at TEXT NOT NULL, 
	created_by TEXT NOT NULL, 
	CONSTRAINT pk_configuration PRIMARY KEY (configuration_id), 
	CONSTRAINT ck_configuration_thresholds_in_order CHECK (gray_zone_lower <= classifier_threshold AND classifier_threshold <= gray_zone_upper), 
	CONSTRAINT uq_configuration_digest UNIQUE (digest)
);
INSERT INTO "configuration" VALUES('cfg_f7157b6ea9d8','sha256:f7157b6ea9d8a88659d568caee429ae5f6f6431c162b3750d982e5bfb60fdbb8','logistic','{"epochs": 10, "batch_size": 32, "parameters": {"l2": 0.1}}','{"classifier_threshold": 0.31, "confidence_threshold": 0.7, "gray_zone_lower": 0.12, "gray_zone_upper": 0.625}',0.31,0.12,0.625,'2026-11-26T08:00:01.000250Z','ada');
INSERT INTO "configuration" VALUES('cfg_17fb30502ce0','sha256:17fb30502ce04f027c08518660fce64dafcfd5071b9005be7520ea925e6f2b82','boosted','{"epochs": 30, "batch_size": 64, "parameters": {"leaves": 15, "learning_rate": 0.05}}','{"classifier_threshold": 0.4, "confidence_threshold": 0.7, "gray_zone_lower": 0.12, "gray_zone_upper": 0.625}',0.4,0.12,0.625,'2026-11-26T08:00:02.000500Z','zoë');
CREATE TABLE configuration_event (
	number INTEGER NOT NULL, 
	configuration_id VARCHAR(16) NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	from_status VARCHAR(64) NOT NULL, 
	to_status VARCHAR(64) NOT NULL, 
	model_id VARCHAR(100) NOT NULL, 
	previous INTEGER NOT NULL, 
	gate_report INTEGER, 
	actor TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	at TEXT NOT NULL, 
	CONSTRAINT pk_configuration_event PRIMARY KEY (number), 
	CONSTRAINT fk_configuration_event_configuration_id_configuration FOREIGN KEY(configuration_id) REFERENCES configuration (configuration_id), 
	CONSTRAINT fk_configuration_event_gate_report_gate_report FOREIGN KEY(gate_report) REFERENCES gate_report (number), 
	CONSTRAINT uq_configuration_event_name_previous UNIQUE (name, previous)
);
INSERT INTO "configuration_event" VALUES(1,'cfg_f7157b6ea9d8','risk','candidate','production','risk-20261126T080000-aaaa',0,NULL,'ada','the first','2026-11-26T08:00:08.002000Z');
INSERT INTO "configuration_event" VALUES(2,'cfg_17fb30502ce0','risk','candidate','shadow','risk-20261126T090000-bbbb',1,1,'zoë','to look at it','2026-11-26T08:00:09.002250Z');
INSERT INTO "configuration_event" VALUES(3,'cfg_f7157b6ea9d8','risk','production','deprecated','risk-20261126T080000-aaaa',2,NULL,'zoë','it''s better','2026-11-26T08:00:10.002500Z');
INSERT INTO "configuration_event" VALUES(4,'cfg_17fb30502ce0','risk','shadow','production','risk-20261126T090000-bbbb',3,1,'zoë','it''s better','2026-11-26T08:00:11.002750Z');
CREATE TABLE evaluation (
	number INTEGER NOT NULL, 
	configuration_id VARCHAR(16) NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	model_id VARCHAR(100) NOT NULL, 
	gate_digest VARCHAR(71) NOT NULL, 
	metrics JSON NOT NULL, 
	human_agreement FLOAT, 
	fitness_score FLOAT, 
	terms INTEGER NOT NULL, 
	at TEXT NOT NULL, 
	CONSTRAINT pk_evaluation PRIMARY KEY (number), 
	CONSTRAINT fk_evaluation_configuration_id_configuration FOREIGN KEY(configuration_id) REFERENCES configuration (configuration_id)
);
INSERT INTO "evaluation" VALUES(1,'cfg_f7157b6ea9d8','risk','risk-20261126T080000-aaaa','sha256:1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f','{"recall": 0.85, "false_positive_rate": 0.08, "latency_ms": null}',NULL,NULL,0,'2026-11-26T08:00:03.000750Z');
INSERT INTO "evaluation" VALUES(2,'cfg_17fb30502ce0','risk','risk-20261126T090000-bbbb','sha256:1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f','{"recall": 0.85, "false_positive_rate": 0.08, "latency_ms": null}',0.895,0.49825,4,'2026-11-26T08:00:04.001000Z');
CREATE TABLE gate_report (
	number INTEGER NOT NULL, 
	candidate VARCHAR(16) NOT NULL, 
	baseline VARCHAR(16), 
	candidate_model VARCHAR(100) NOT NULL, 
	baseline_model VARCHAR(100) NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	gate_digest VARCHAR(71) NOT NULL, 
	k INTEGER NOT NULL, 
	alpha FLOAT NOT NULL, 
	policy JSON NOT NULL, 
	criteria JSON NOT NULL, 
	verdict VARCHAR(64) NOT NULL, 
	waiver TEXT, 
	actor TEXT NOT NULL, 
	at TEXT NOT NULL, 
	CONSTRAINT pk_gate_report PRIMARY KEY (number), 
	CONSTRAINT fk_gate_report_candidate_configuration FOREIGN KEY(candidate) REFERENCES configuration (configuration_id)
);
INSERT INTO "gate_report" VALUES(1,'cfg_17fb30502ce0','cfg_f7157b6ea9d8','risk-20261126T090000-bbbb','risk-20261126T080000-aaaa','risk','sha256:1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f',2,7.59908877317533315576e-03,'{"min_recall_gain": 0.03}','[{"name": "Recall gain", "estimate": 0.05, "bound": 0.021, "verdict": "PASS"}, {"name": "Human agreement", "estimate": null, "bound": null, "verdict": "INSUFFICIENT_EVIDENCE"}]','INSUFFICIENT_EVIDENCE',NULL,'ada','2026-11-26T08:00:07.001750Z');
CREATE TABLE nethical_schema (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT nethical_schema_pkc PRIMARY KEY (version_num)
);
INSERT INTO "nethical_schema" VALUES('0001');
CREATE TABLE reviewed_case (
	case_id VARCHAR(128) NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	features JSON NOT NULL, 
	is_positive BOOLEAN NOT NULL, 
	stratum VARCHAR(64) NOT NULL, 
	inclusion_probability FLOAT NOT NULL, 
	reviewers INTEGER NOT NULL, 
	used_for_training BOOLEAN NOT NULL, 
	reviewed_at TEXT NOT NULL, 
	imported_at TEXT NOT NULL, 
	CONSTRAINT pk_reviewed_case PRIMARY KEY (case_id), 
	CONSTRAINT ck_reviewed_case_probability_in_range CHECK (inclusion_probability > 0 AND inclusion_probability <= 1)
);
INSERT INTO "reviewed_case" VALUES('case-1','risk','{"amount": 12.5, "text": "d\u00e9j\u00e0 vu; ''quoted''", "tags": ["a", null], "missing": null}',1,'gray',1.0,2,0,'2026-11-25T10:00:00Z','2026-11-26T08:00:15.003750Z');
INSERT INTO "reviewed_case" VALUES('case-2','risk','{}',0,'audit',0.0125,3,1,'2026-11-25T11:00:00Z','2026-11-26T08:00:15.003750Z');
CREATE TABLE study (
	study_id VARCHAR(71) NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	technique VARCHAR(64) NOT NULL, 
	iterations INTEGER NOT NULL, 
	identity JSON NOT NULL, 
	created_at TEXT NOT NULL, 
	CONSTRAINT pk_study PRIMARY KEY (study_id), 
	CONSTRAINT ck_study_iterations_positive CHECK (iterations >= 1)
);
INSERT INTO "study" VALUES('sha256:3ce5ba42e2902ccee38a49f695b4184f9498dda3c3a7f77285a1adc822388265','risk','random_search',3,'{"seed": 7, "rows": "sha256:2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e"}','2026-11-26T08:00:12.003000Z');
CREATE TABLE trial (
	study_id VARCHAR(71) NOT NULL, 
	number INTEGER NOT NULL, 
	parameters JSON NOT NULL, 
	outcome JSON NOT NULL, 
	at TEXT NOT NULL, 
	CONSTRAINT pk_trial PRIMARY KEY (study_id, number), 
	CONSTRAINT fk_trial_study_id_study FOREIGN KEY(study_id) REFERENCES study (study_id)
);
INSERT INTO "trial" VALUES('sha256:3ce5ba42e2902ccee38a49f695b4184f9498dda3c3a7f77285a1adc822388265',0,'{"l2": 0.5}','{"recall": 0.8, "threshold": 0.3}','2026-11-26T08:00:13.003250Z');
INSERT INTO "trial" VALUES('sha256:3ce5ba42e2902ccee38a49f695b4184f9498dda3c3a7f77285a1adc822388265',1,'{"l2": 0.25}','{"recall": null}','2026-11-26T08:00:14.003500Z');
CREATE INDEX ix_reviewed_case_name ON reviewed_case (name);
CREATE INDEX ix_configuration_event_name ON configuration_event (name);
COMMIT;
