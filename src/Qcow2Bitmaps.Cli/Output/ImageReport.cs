namespace Qcow2Bitmaps.Cli.Output;

/// <summary>What <c>info</c> says about one image, whatever its format.</summary>
internal sealed record ImageReport
{
    public required string FileName { get; init; }

    public required string Format { get; init; }

    public required long VirtualSizeBytes { get; init; }

    /// <summary>How many bytes the file occupies on disk; null when unknown.</summary>
    public required long? AllocatedBytes { get; init; }

    /// <summary>The image; null when it is raw.</summary>
    public Qcow2Image? Image { get; init; }

    /// <summary>The name of the backing file as it is opened; null without one.</summary>
    public string? FullBackingFile { get; init; }

    /// <summary>The plain text of a LUKS header; null when there is none.</summary>
    public LuksHeader? Luks { get; init; }

    public bool IsDirty => Image?.Header.IsDirty ?? false;

    public bool IsEncrypted => Image is { Encryption: not EncryptionMethod.None };
}
