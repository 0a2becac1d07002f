// oauth2-mock-server on the loopback. The parameter `oddity` says how the response is bent.
import { OAuth2Server } from 'oauth2-mock-server';

const server = new OAuth2Server();
await server.issuer.keys.generate('RS256');
const oddities = {
  string: (response) => { response.body.expires_in = '1800'; },
  float: (response) => { response.body.expires_in = 1800.5; },
  null: (response) => { response.body.expires_in = null; },
  zero: (response) => { response.body.expires_in = 0; },
  negative: (response) => { response.body.expires_in = -1; },
  missing: (response) => { delete response.body.expires_in; },
  untyped: (response) => { delete response.body.token_type; },
  bearer: (response) => { response.body.token_type = 'BearerToken'; },
  accepted: (response) => { response.statusCode = 202; },
  error: (response) => { response.body = { error: 'invalid_client' }; },
  scope: (response) => { response.statusCode = 400; response.body = { error: 'invalid_scope' }; },
};
server.service.on('beforeResponse', (response, request) => {
  oddities[request.body.oddity?.replace('oddity-', '')]?.(response);
});
server.issuer.url = `http://127.0.0.1:${process.env.PORT}`;
await server.start(Number(process.env.PORT), '127.0.0.1');
