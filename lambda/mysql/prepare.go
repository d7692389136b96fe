package mysql

import (
	"context"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/event"
)

// Prepare creates the users of the request. The error is a *connector.Failure.
func Prepare(_ context.Context, server *connector.Server, request event.Request) (connector.Outcome, error) {
	return connector.Outcome{}, server.Fail("this version of the connector does not create users on "+request.Type, "Create them by the SQL of the README")
}
