package infra

import (
	"testing"

	"esc-connector-lambda-go/environments"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDocumentsThatDoNotFitAnyMoreAreToldWithTheLinesToChange(t *testing.T) {
	const here, function = "orders.abc.eu-west-1.rds.amazonaws.com", "arn:aws:lambda:eu-west-1:111122223333:function:shop-dev-862e37e7"
	settings := &Settings{Rotator: environments.Name{Organization: "acme", Project: "shop", Environment: "orders"}}
	account := &Account{ID: "111122223333", Partition: "aws", Region: "eu-west-1"}
	database := &Database{Engine: "postgres", Host: here, Port: 5432}
	last := &LastState{resources: map[string]resourceOutputs{"function": {Name: "shop-dev-862e37e7"}}}
	for document, want := range map[environments.Rotator]string{
		{Engine: "postgres", Host: here, Port: 5432, LambdaARN: function}:          "",
		{Engine: "postgres", Host: "old.example", Port: 5432, LambdaARN: function}: "\n    host: " + here + "   # now old.example\n",
		{Engine: "mysql", Host: here, Port: 3306, LambdaARN: function}:             "\n    fn::rotate::postgres   # now mysql\n    port: 5432   # now 3306\n",
		{Engine: "postgres", Host: here, Port: 5432, LambdaARN: "arn:old"}:         "\n    lambdaArn: " + function + "   # now arn:old\n",
		// Somebody has pasted what holds a password.
		{Engine: "postgres", Host: "postgres://app:S3cret@old.example/app", Port: 5432, LambdaARN: function}:   "\n    host: " + here + "   # now (not shown)\n",
		{Engine: "postgres", Host: here, Port: 5432, LambdaARN: "host=old.example user=app password = S3cret"}: "\n    lambdaArn: " + function + "   # now (not shown)\n",
	} {
		text, err := document.Document()
		require.NoError(t, err)
		documents := map[string]string{"rotator": text}
		edits, warnings := last.drift(documents, settings, account, database)
		if want == "" {
			assert.Empty(t, edits)
			assert.Empty(t, warnings)
			continue
		}
		require.Len(t, warnings, 1)
		assert.Contains(t, warnings[0], "pulumi env edit acme/shop/orders")
		assert.Contains(t, warnings[0], want)
		for _, line := range edits["acme/shop/orders"] {
			assert.Contains(t, want, "\n    "+line+"   # now ")
		}

		later := &LastState{resources: last.resources, reported: edits}
		again, warnings := later.drift(documents, settings, account, database)
		assert.Equal(t, edits, again, "it is still to be edited")
		assert.Empty(t, warnings, "and that has been said")
		later.reported = Edits{"acme/shop/orders": {"host: elsewhere.example"}}
		_, warnings = later.drift(documents, settings, account, database)
		assert.Len(t, warnings, 1, "something else has been said")
	}
	edits, warnings := last.drift(nil, settings, account, database)
	assert.Empty(t, edits, "nothing is known of documents that are not there")
	assert.Empty(t, warnings)
}
