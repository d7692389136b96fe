// Package e2e tells the stories of the connector's users, from pulumi new to pulumi destroy, on one machine and without
// any cloud account. The Pulumi CLI (but for its command api), its engine, the evaluator of Pulumi ESC, the function's archive,
// PostgreSQL and MariaDB are the real ones; what plays the rest stands in the folders below.
//
// # Rooms
//
//   - road: a machine with all servers, and clouds on it: for each story an AWS account and an organization of Pulumi Cloud
//   - gateway, moto: AWS. The server that moto starts answers most calls, and the gateway plays what that lacks
//   - policy: IAM's decisions
//   - pulumicloud: Pulumi Cloud. state keeps its stacks, esc its environments, access says who may do what with them, and
//     rest is how all of them answer. The first three begin with a page on how they differ from the real ones
//   - provider, cmd/pulumi-resource-aws, cmd/pulumi-resource-pulumiservice: the two providers of Pulumi
//   - cmd/pulumi-language-go: Pulumi's host of Go programs, for a machine without the real one
//   - openapi: what the CLI names of a library that only `pulumi api` needs, which takes longer to compile than all else in it
//   - application: the example of an application in the guide
//   - ec2: a client of the few operations of EC2 that the stand-ins need
//   - cmd/demo, cmd/draw: make demo, which tells some of the stories, and the drawings in docs
//   - cmd/bench, baselines: make bench, and what it compares with
//   - testdata/stories and testdata/readme: the stories, the latter in the words of the pages alone
//   - testdata/stacks: stacks that earlier versions made
//
// # Words
//
// A story is a file of commands for github.com/rogpeppe/go-internal/testscript, whose words are exec, stdout, cmp and
// their like. These are ours. The tables of words, at the top of the files story_*.go, name a function for each, whose comment says
// what the word does and takes.
//
//   - The project and its stack: new, project, filled, to-prepare, settings, pulumi, paste, plan, foretold, restore, inherit,
//     inherited, without-in-state, published
//   - The database: database, empty, keep-master, network, sql, ca, login, login-as
//   - Pulumi Cloud: esc-rotate, esc-open, esc-edit, document, remember, kept, schedules, protect, esc-delete-team, as
//   - The stacks in Pulumi Cloud: cloud-form, cloud-export, cloud-record, cloud-expire, cloud-rename, cloud-revoke, cloud-unserved,
//     own-state
//   - When AWS, ESC or the rest of Pulumi Cloud fails: fail, hangs, recover, cut-off
//   - AWS: aws-oidc, iam-policy, aws-name-servers, aws-public-cas, aws-publish, aws-left, aws-calls,
//     aws-profiles, aws-replica, aws-refuse-missing
//   - The function in AWS: aws-invoke, aws-deploy, aws-update, aws-weekly, aws-idle
//   - Who hears of failures: aws-topic, aws-topic-policy, aws-later, heard, log-query, esc-listen, esc-told, webhooks, esc-delete-webhooks
//   - When AWS fails: aws-deny, aws-throttle, aws-refuse-code, aws-refuse-function, aws-interfaces, aws-share, aws-lose-answer,
//     aws-delay-versioning, aws-fail-signing, aws-throttle-once, aws-secret-status
//   - What is changed behind the stack's back: function-by-hand, group-by-hand, role-by-hand, by-hand
//   - What people do to a state, and after a message: make-anew, walk, go-on
//   - Files: replace, nowhere
//   - The pages, in testdata/readme alone, whose stories know only these words and what else the table in story_pages.go has: sh, save,
//     serve, administer, cluster, converse, git-host, resources, calls-within, names-within
package e2e
