import assert from 'node:assert/strict';
import { test } from 'node:test';
import { singleFileMounts } from '../../src/cli/single-file-mounts.ts';

const mountInfo = `22 1 0:21 / /proc rw,nosuid - proc proc rw
611 609 254:0 /home/ada/mesh.yaml /etc/outrider/mesh.yaml ro,relatime - ext4 /dev/vda rw
612 609 254:0 /home/ada/policies /etc/outrider/policies ro,relatime - ext4 /dev/vda rw
613 609 254:0 /home/ada/my\\040key.pem /etc/ssl/my\\040key.pem ro,relatime - ext4 /dev/vda rw
`;

test('a file that is a mount of its own is told with its variable, folders and files in mounted folders are not', () => {
  const files = [
    { variable: 'POLICY_PATH', path: '/etc/outrider/mesh.yaml' },
    { variable: 'POLICY_PATH', path: '/etc/outrider/policies' },
    { variable: 'CA_CERT_PATH', path: '/etc/outrider/policies/ca.crt' },
    { variable: 'CLIENT_KEY_PATH', path: '/etc/ssl/my key.pem' },
  ];
  const found = singleFileMounts(files, mountInfo, (path) => path !== '/etc/outrider/policies');
  assert.deepEqual(
    found.map(({ why }) => why.split(' is mounted')[0]),
    ['POLICY_PATH: /etc/outrider/mesh.yaml', 'CLIENT_KEY_PATH: /etc/ssl/my key.pem'],
  );
  assert.deepEqual(new Set(found.map(({ remedy }) => remedy)), new Set(['mount the folder that holds it']));
});

test('where the system does not list mounts, or lists others, nothing is said', () => {
  const files = [{ variable: 'POLICY_PATH', path: '/etc/outrider/mesh.yaml' }];
  assert.deepEqual(
    singleFileMounts(files, '', () => true),
    [],
  );
  // The real list of this machine, in which no such file is.
  assert.deepEqual(singleFileMounts(files), []);
});
