// oidc-provider on the loopback. A client per method and algorithm.
import { readFileSync } from 'node:fs';
import Provider from 'oidc-provider';

const keys = JSON.parse(readFileSync(process.env.KEYS, 'utf8'));
const grants = { grant_types: ['client_credentials'], response_types: [], redirect_uris: [] };
const signed = Object.entries(keys).map(([alg, key]) => ({
  client_id: `judge-${alg}`,
  token_endpoint_auth_method: 'private_key_jwt',
  token_endpoint_auth_signing_alg: alg,
  jwks: { keys: [key] },
  ...grants,
}));
const issuer = `http://127.0.0.1:${process.env.PORT}`;
const provider = new Provider(issuer, {
  clients: [
    {
      client_id: 'judge: odd/1',
      client_secret: 'p%+&: s',
      token_endpoint_auth_method: 'client_secret_basic',
      ...grants,
    },
    {
      client_id: 'judge-post',
      client_secret: 'p%+&: s',
      token_endpoint_auth_method: 'client_secret_post',
      ...grants,
    },
    {
      client_id: 'judge-HS256',
      client_secret: 'a secret of thirty-two bytes or more',
      token_endpoint_auth_method: 'client_secret_jwt',
      token_endpoint_auth_signing_alg: 'HS256',
      ...grants,
    },
    {
      client_id: 'judge-tls',
      token_endpoint_auth_method: 'tls_client_auth',
      tls_client_auth_subject_dn: 'CN=judge',
      ...grants,
    },
    {
      client_id: 'judge-refresh',
      client_secret: 's3cret',
      token_endpoint_auth_method: 'client_secret_basic',
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      redirect_uris: ['https://client.example.com/callback'],
    },
    ...signed,
  ],
  scopes: ['read', 'write', 'openid', 'offline_access'],
  findAccount: (ctx, accountId) => ({ accountId, claims: () => ({ sub: accountId }) }),
  // It can be used once.
  rotateRefreshToken: true,
  clientAuthMethods: [
    'client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt',
    'tls_client_auth', 'none',
  ],
  enabledJWA: {
    clientAuthSigningAlgValues: ['HS256', 'RS256', 'PS256', 'ES256', 'ES384', 'EdDSA'],
  },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    // The judge speaks plain http to it, so the certificate is taken for right.
    mTLS: {
      enabled: true,
      tlsClientAuth: true,
      getCertificate: () => 'a certificate',
      certificateAuthorized: () => true,
      certificateSubjectMatches: () => true,
    },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: () => ({ scope: 'read write', accessTokenTTL: 600, accessTokenFormat: 'jwt' }),
    },
  },
});

// What a person has allowed once.
const allowed = { accountId: 'ada', clientId: 'judge-refresh' };
const grant = new provider.Grant(allowed);
grant.addOIDCScope('openid offline_access');
await new provider.RefreshToken({
  client: await provider.Client.find('judge-refresh'),
  accountId: 'ada',
  grantId: await grant.save(),
  scope: 'openid offline_access',
  gty: 'authorization_code',
  jti: 'the-first-refresh-token',
}).save();
provider.listen(Number(process.env.PORT), '127.0.0.1');
