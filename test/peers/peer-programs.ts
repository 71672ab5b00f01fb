export const buildPeerPrograms = async (_say: (line: string) => void): Promise<void> => {};
