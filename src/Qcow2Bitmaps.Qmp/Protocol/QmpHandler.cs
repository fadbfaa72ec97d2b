namespace Qcow2Bitmaps.Qmp.Protocol;

/// <summary>Runs a command.</summary>
/// <param name="arguments">Its arguments, not checked yet.</param>
/// <param name="cancellationToken">Stops it.</param>
/// <returns>What it returns; null for an empty object.</returns>
/// <exception cref="QmpException">It was refused, or failed.</exception>
internal delegate ValueTask<QmpResult?> QmpHandler(QmpArguments arguments, CancellationToken cancellationToken);
