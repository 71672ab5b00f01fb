import { Command } from 'commander';

/** `outrider certs init|issue|verify`. */
export const certsCommand = (): Command => new Command('certs').description('make and check the certificates of a mesh');
