namespace Qcow2Bitmaps.Tests.Support;

/// <summary>What a crash could leave of a storage.</summary>
/// <param name="Content">The bytes.</param>
/// <param name="Description">When the crash came and which sectors had reached the disk by then.</param>
internal sealed record CrashState(byte[] Content, string Description)
{
    public override string ToString() => Description;
}
