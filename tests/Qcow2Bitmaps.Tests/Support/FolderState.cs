namespace Qcow2Bitmaps.Tests.Support;

/// <summary>What a stop could leave of a folder.</summary>
/// <param name="Files">The files by their whole paths.</param>
/// <param name="Description">When the stop came.</param>
internal sealed record FolderState(IReadOnlyDictionary<string, RecordedFile> Files, string Description)
{
    public override string ToString() => Description;
}
