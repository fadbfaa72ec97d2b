namespace Qcow2Bitmaps.Tests.Hostile;

/// <summary>A field of an image's metadata: where it stands and how many bytes it has.</summary>
internal sealed record MetadataField(string Name, long Offset, int Bytes);
